"""The local page: the jobs of dipsop.jobs, for people who would rather look than type.

A small server (starlette, uvicorn) and one hand-written page in static/. `server.py` has the routes, `sessions.py` whose
pictures are whose, `fits.py` what is being computed, `choices.py` the options in plain words, `looks.py` what is shown of
a picture, `guard.py` who may ask. Nothing is loaded from elsewhere, and nothing leaves the machine.
"""
