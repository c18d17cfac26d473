# One image for the API, the worker, the migrations and the sandbox provider; the command says which.
FROM python:3.13.16-slim-trixie

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# The lock holds the tools of the developers and the embedded servers as well: some hundred megabytes more, one lock less.
COPY requirements.lock .
RUN pip install --require-hashes -r requirements.lock

# .dockerignore lists what comes along. Editable, so that there is one copy of the code, as everywhere else.
COPY . .
RUN pip install --no-deps --no-build-isolation --editable .

# A new volume takes over the owner of the directory that it covers.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin lanka \
    && install --directory --owner lanka --group lanka /data
USER 10001

STOPSIGNAL SIGTERM
CMD ["lanka", "api", "--host", "0.0.0.0", "--port", "8000"]
