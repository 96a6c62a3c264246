"""What a person can ask for, whoever asks: a job comes in, events go out, and a `stop()` that turns true is heeded.

    for event in restore.run(RestoreJob(source=..., out=..., preset="quick", config=PRESETS["quick"])):
        ...                                   # Begun, Step, Preview, Written, ..., Done: see events.py

Whoever listens shows them: a command line, a page, a script. Nothing here reads a command line, prints for a person or
exits. Only worker.py and curve.py, processes of their own, report on standard output to the process that started them,
and pipes.py takes a picture from standard input and puts one on standard output. What goes wrong with a job raises a
DipsopError; among many pictures it is the event Failed, and the others go on.
"""
