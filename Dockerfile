# The one image: `greenlight`, with the command as its argument; each Knative Service runs `serve SERVICE` (docs/image.md).
#
#     docker build -t dev.local/greenlight:1 .
#     docker run dev.local/greenlight:1 --help
#
# Two builds of one commit on one base have the same files, times included: packages come by hash, and bytecode and times are
# functions of the sources.
ARG SOURCE_DATE_EPOCH=1580601600

FROM python:3.13-slim-bookworm AS tools
COPY requirements/image-build.txt /requirements/
RUN pip install --no-cache-dir --require-hashes -r /requirements/image-build.txt

# Helm of its published source, held to the sums in go.sum; the tests compile theirs from the same files.
FROM tools AS helm
COPY tests/cluster/tools/helm/go.mod tests/cluster/tools/helm/go.sum /helm/
WORKDIR /helm
ENV CGO_ENABLED=0 GOTOOLCHAIN=local GOCACHE=/tmp/go/cache GOMODCACHE=/tmp/go/modules
RUN version=$(go list -m -f '{{.Version}}' helm.sh/helm/v4) \
 && go build -trimpath -buildvcs=false -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=$version" \
      -o /image/usr/local/bin/ helm.sh/helm/v4/cmd/helm \
 && go clean -cache -modcache
ARG SOURCE_DATE_EPOCH
RUN find /image -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

# What the services import. Of botocore's descriptions of AWS (27 MB) only those of the four services that are called; of
# kubernetes (118 MB) neither its models and their methods nor its asynchronous half, and no aiohttp, which only that needs.
# Bytecode, because a container that may not write would compile at every start; never checked against its source, so that no
# time is in it.
FROM python:3.13-slim-bookworm AS packages
COPY requirements/image.txt /requirements/
RUN python -m venv --without-pip /opt/greenlight \
 && pip --python /opt/greenlight/bin/python install --no-cache-dir --no-compile --require-hashes -r /requirements/image.txt \
 && find /opt/greenlight/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
      ! -name dynamodb ! -name eks ! -name s3 ! -name sts -exec rm -r {} + \
 && cd /opt/greenlight/lib/python3*/site-packages/kubernetes && rm -r aio client/api client/apis \
 && find client/models -type f ! -name __init__.py -delete \
 && pip --python /opt/greenlight/bin/python uninstall --yes --quiet aiohttp aiohttp-retry aiosignal aiohappyeyeballs attrs \
      frozenlist multidict propcache yarl \
 && PYTHONHASHSEED=0 python -m compileall -q --invalidation-mode unchecked-hash /opt/greenlight \
 && mkdir -p /image/opt && cp -a /opt/greenlight /image/opt/
ARG SOURCE_DATE_EPOCH
RUN find /image -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

# Greenlight itself, installed beside them, in a layer of its own: it is what changes.
FROM tools AS greenlight
COPY --from=packages /opt/greenlight /opt/greenlight
COPY pyproject.toml README.md LICENSE /source/
COPY services /source/services
COPY knative /source/knative
ARG SOURCE_DATE_EPOCH
RUN pip wheel --quiet --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir /wheel /source \
 && pip --python /opt/greenlight/bin/python install --no-cache-dir --no-compile --no-deps --no-index --find-links /wheel \
      --root /image greenlight-pipeline \
 && PYTHONHASHSEED=0 python -m compileall -q --invalidation-mode unchecked-hash -s /image -p / /image \
 && find /image -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

FROM python:3.13-slim-bookworm
ARG SOURCE_DATE_EPOCH
# The base has no bytecode of Python's own library.
RUN PYTHONHASHSEED=0 python -m compileall -q --invalidation-mode unchecked-hash \
      -x '/(site-packages|ensurepip|idlelib|lib2to3|pydoc_data|test|tests|tkinter|turtledemo)/' /usr/local/lib/python3.13 \
 && find /usr/local/lib/python3.13 \( -type d -o -name '*.pyc' \) -exec touch --date=@$SOURCE_DATE_EPOCH {} +
COPY --from=helm /image /
COPY --from=packages /image /
COPY --from=greenlight /image /
ENV PATH=/opt/greenlight/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["greenlight"]
