"""What a scheduled job is: its declaration, its clock, its data in and out."""
