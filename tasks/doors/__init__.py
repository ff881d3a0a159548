"""Who may talk to a server of the platform: one rule, held at the door of each of them.

A web page elsewhere can make its reader's browser talk to this machine, and a name that its owner points at 127.0.0.1
makes the two look like one site. So a server answers to names it knows, to no page but its own, and to a password.

rule         what is refused, and why; knows no server        asgi           Prefect, MLflow
dask_pages   the pages of Dask's scheduler and workers        keys           password and certificates of a platform
"""
