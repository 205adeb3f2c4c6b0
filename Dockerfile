FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock .
RUN python -m venv /venv && /venv/bin/pip install --require-hashes -r requirements.lock

FROM python:3.11-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=config.settings BIND=0.0.0.0:8000
RUN useradd --system --uid 10001 --no-create-home app
WORKDIR /app
COPY --from=build /venv /venv
COPY manage.py gunicorn.conf.py ./
COPY accounts accounts
COPY api api
COPY billing billing
COPY config config
COPY credits credits
COPY locale locale
COPY outgoing outgoing
COPY static static
COPY templates templates
COPY usage usage
COPY website website
# The settings want every value; none of these is in the image's environment afterwards.
RUN SECRET_KEY=only-while-static-files-are-collected BASE_URL=https://build.invalid \
    DATABASE_URL=postgres://none STRIPE_SECRET_KEY=none STRIPE_WEBHOOK_SECRET=none \
    EMAIL_URL=dummymail:// DEFAULT_FROM_EMAIL=none@build.invalid \
    python manage.py collectstatic --noinput
USER app
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["gunicorn", "config.wsgi"]
