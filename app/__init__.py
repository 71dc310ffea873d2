"""What every service shares; it imports none of the other packages."""
