"""What people read: banner and tables in the terminal."""
