"""What sets Goalkeeper up: scripts for a machine, and the demo."""
