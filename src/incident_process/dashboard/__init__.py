"""The web page: the operation's state, runs, accounts and dead letters (SPEC 7, ``dashboard``).

| module | subject |
|---|---|
| ``web_server`` | the socket, uvicorn, the signals |
| ``application`` | the routes, and the answers to errors |
| ``security_middleware`` | the checks of every request: host, origin, session, forgery; the headers of every answer |
| ``access`` | tokens, sessions, permissions, the limit on guesses |
| ``read_api`` | the answers to reading requests, as JSON |
| ``write_api`` | the answers to requests that change something, or show personal data |
| ``read_model`` | what the page shows, read through the read service |
| ``single_flight_cache`` | keeps these readings for a moment |
| ``connections`` | source and state, opened at their first use |
| ``own_runs`` | the runs that users start here, replays too, one at a time, in a thread of its own |
| ``stop_signal`` | stops a run of another process by SIGTERM |
| ``difference`` | an account's document beside the one last delivered, masked |
| ``responses`` | JSON answers and requests |
| ``static/`` | the page itself: plain HTML, CSS and ES modules, no build step, nothing from elsewhere |

The page reads through ``insights`` as the command line does, changes nothing but by a run, and keeps no data.
"""
