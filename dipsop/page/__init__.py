"""The local page: the jobs of dipsop.jobs, for people who would rather look than type.

A small server (starlette, uvicorn) and one hand-written page in static/. `server.py` has the routes, `guard.py` says
who may ask, `sessions.py` whose pictures are whose; an `item.py` is a picture with its runs, `fits.py` are the runs
under way, `choices.py` the options in plain words, `looks.py` what is shown of a picture, `review.py` the labels.
Nothing is loaded from elsewhere, and nothing leaves the machine.
"""

LOCAL = ("127.0.0.1", "localhost", "::1")
"""What only this machine can reach."""
