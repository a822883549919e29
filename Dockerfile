# One image of handsim, for the browser and for the trainer. It has no key and no hands; it gets both at run time.
#
#   docker build --tag handsim .
#   docker run --rm handsim --help
#
# For a Ray cluster (docs/scale.md): --build-arg EXTRAS=cluster --build-arg ALSO='ray[default]'
#
# Packages come from pip's default index, or from those in the build arguments PIP_INDEX_URL and
# PIP_EXTRA_INDEX_URL. The image's history shows these arguments, so never put a password in them.

FROM python:3.12.13-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/handsim
ENV PATH=/opt/handsim/bin:$PATH
WORKDIR /source

# The dependencies are a separate layer, because they take minutes and gigabytes and change rarely.
ARG EXTRAS="train browse"
ARG ALSO=""
COPY pyproject.toml ./
RUN python -c "import os, tomllib; \
      project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      extras = project['optional-dependencies']; \
      asked = [line for extra in os.environ['EXTRAS'].split() for line in extras[extra]]; \
      print(*project['dependencies'], *asked, *os.environ['ALSO'].split(), sep='\n')" > dependencies.txt \
    && pip install --requirement dependencies.txt
# .dockerignore lets in only the files of the package.
COPY . ./
RUN pip install --no-deps .


FROM python:3.12.13-slim-bookworm
# OpenCV loads libGL, GLib and xcb, although it opens no window.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/*

# Every user can write to the cache, as to /tmp, because the trainer may run as another user, the home's owner.
RUN useradd --uid 1000 --home-dir /home/handsim --shell /usr/sbin/nologin handsim \
    && install --directory --owner=1000 --group=1000 /home/handsim /home/handsim/handsim-home \
    && install --directory --owner=1000 --group=1000 --mode=1777 /home/handsim/.cache
COPY --from=build /opt/handsim /opt/handsim

# HOME and USER are set here, because a user that is not in /etc/passwd has neither. Numba, which UMAP uses,
# writes compiled code beside its source by default, but the source belongs to root.
ENV PATH=/opt/handsim/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/home/handsim \
    USER=handsim \
    HANDSIM_HOME=/home/handsim/handsim-home \
    XDG_CACHE_HOME=/home/handsim/.cache \
    NUMBA_CACHE_DIR=/home/handsim/.cache/numba

WORKDIR /home/handsim
USER 1000:1000
EXPOSE 8501
ENTRYPOINT ["handsim"]
CMD ["--help"]
