"""What opens the doors of a platform: a password, and certificates by which Dask and the store know their own.

FOLDER/environment    0600; a shell sources it. The password stands here, and is kept from one start to the next
FOLDER/tls/           0700; a key and its certificate, written anew at every start
"""

import ipaddress
import secrets
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tasks.doors.rule import PASSWORD, USER

#: From when on, and until when certificates are valid.
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_ROLES = ("CLIENT", "SCHEDULER", "WORKER")


def exported(folder: Path) -> dict[str, str]:
    """Return what the environment file of a platform exports; nothing where there is none."""
    try:
        lines = (folder / "environment").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    words = [shlex.split(line) for line in lines]
    return dict(each[1].split("=", 1) for each in words if each[:1] == ["export"])


def password_of(folder: Path) -> str | None:
    """Return the password of a platform; None where it has none yet, as those of version 0.1."""
    return exported(folder).get(PASSWORD)


def credentials(password: str) -> dict[str, str]:
    """Return what clients read: ours, Prefect's and MLflow's."""
    return {
        PASSWORD: password, "PREFECT_API_AUTH_STRING": f"{USER}:{password}",
        "MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": password,
    }  # fmt: skip


def kept_password(folder: Path) -> str:
    """Return the password of a platform, made where there is none."""
    return password_of(folder) or secrets.token_urlsafe(24)


def write_exports(folder: Path, told: Mapping[str, str]) -> None:
    """Write the environment file of a platform."""
    write_secret(
        folder / "environment", "".join(f"export {name}={shlex.quote(value)}\n" for name, value in told.items())
    )


def write_secret(path: Path, content: str) -> None:
    """Write a file that only its owner reads, at no time anybody else."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(content, encoding="utf-8")


def certificate(folder: Path) -> tuple[str, str]:
    """Return where the certificate of a platform is, and where its key."""
    return str(folder / "tls" / "certificate.pem"), str(folder / "tls" / "key.pem")


def dask_settings(folder: Path) -> dict[str, str]:
    """Return where Dask's clients, scheduler and workers find the certificate by which they know each other."""
    shown, key = certificate(folder)
    told = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": shown}
    for role in _ROLES:
        told |= {f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT": shown, f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY": key}
    return told


def store_settings(folder: Path) -> dict[str, str]:
    """Return the settings by which SeaweedFS's inner servers take nothing from who has no certificate."""
    shown, key = certificate(folder)
    told = {"WEED_GRPC_CA": shown, "WEED_HTTPS_CLIENT_ENABLED": "true", "WEED_HTTPS_CLIENT_CA": shown}
    for part in ("GRPC_MASTER", "GRPC_VOLUME", "GRPC_FILER", "GRPC_S3", "GRPC_CLIENT", "HTTPS_CLIENT"):
        told |= {f"WEED_{part}_CERT": shown, f"WEED_{part}_KEY": key}
    for part in ("MASTER", "VOLUME", "FILER"):
        told |= {f"WEED_HTTPS_{part}_{name}": path for name, path in (("CERT", shown), ("KEY", key), ("CA", shown))}
    return told


def write_certificate(folder: Path) -> None:
    """Make a key, and a certificate of it, for a platform."""
    (folder / "tls").mkdir(mode=0o700, exist_ok=True)
    for path, content in zip(certificate(folder), new_certificate(), strict=True):
        write_secret(Path(path), content)


def new_certificate() -> tuple[str, str]:
    """Return a certificate that vouches for itself, and its key: who holds the key is one of us.

    Whatever the clock says it is valid: it tells who somebody is, and clocks are set while servers run.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "il platform")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_ALWAYS[0])
        .not_valid_after(_ALWAYS[1])
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    bare = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem).decode(), bare.decode()
