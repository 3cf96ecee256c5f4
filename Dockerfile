FROM python:3.13-slim AS build
COPY --from=ghcr.io/astral-sh/uv:0.13.8 /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project
COPY LICENSE README.md ./
COPY src src
COPY migrations migrations
RUN uv sync --frozen --no-dev --no-editable

FROM python:3.13-slim
RUN useradd --system --create-home --home-dir /var/lib/ohmstead ohmstead
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH ENVIRONMENT=production OHMSTEAD_DATA_DIR=/var/lib/ohmstead
USER ohmstead
WORKDIR /var/lib/ohmstead
EXPOSE 8000
HEALTHCHECK --start-period=20s --interval=15s --timeout=5s CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://localhost:' + (os.getenv('OHMSTEAD_PORT') or os.getenv('PORT') or '8000') + '/health', timeout=4)"]
CMD ["ohmstead", "serve"]
