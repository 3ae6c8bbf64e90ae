"""The machine that runs engines: build, time, infer. numpy and Pillow, never torch; Python 3.6."""
