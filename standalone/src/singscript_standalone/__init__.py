"""The whole of Singscript on one machine: every service a process of its own, with embedded defaults."""
