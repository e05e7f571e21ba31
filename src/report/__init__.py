"""What people read: tables in the terminal, reports as pages, pictures."""
