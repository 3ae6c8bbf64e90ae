"""Images: folders of the user, and the bundled digits and scenes."""
