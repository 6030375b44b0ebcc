"""What a detector is shown and what people see: pictures and videos, frame by frame, with boxes drawn on."""
