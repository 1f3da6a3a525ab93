for path in ("/etc/shadow", "/etc/passwd", "/etc/group", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf",
             "/etc/ssl/private", "/etc/machine-id", "/run/secrets/kubernetes.io/serviceaccount/token",
             "/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/utmp", "/var/log/dpkg.log"):
    attempt("read " + path, read, path)
import pwd
try: breaches.append(pwd.getpwuid(0).pw_name)
except (KeyError, OSError): pass
