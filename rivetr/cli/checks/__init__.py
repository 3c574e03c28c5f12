"""What `rivetr doctor` looks at, a module for each side of the machine; nothing here changes anything."""
