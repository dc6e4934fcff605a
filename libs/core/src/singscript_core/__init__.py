"""What every part of Singscript shares and no library of its own would justify: errors, settings, logs."""
