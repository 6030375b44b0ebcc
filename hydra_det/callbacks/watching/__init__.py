"""What looks at a stage and changes nothing: progress, numbers gone wrong, pictures, histories of masks."""
