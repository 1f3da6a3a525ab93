import socket, urllib.request
attempt("http", urllib.request.urlopen, "http://127.0.0.1:1/", None, 2)
attempt("metadata of the cloud", urllib.request.urlopen, "http://169.254.169.254/latest/meta-data/", None, 2)
attempt("sandbox of the provider", urllib.request.urlopen, "http://127.0.0.1:8080/", None, 2)
attempt("name", socket.getaddrinfo, "example.com", 80)
attempt("Redis", socket.create_connection, ("127.0.0.1", 6379), 2)
for path in ("/run/docker.sock", "/var/run/docker.sock", "/run/redis/redis.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket"):
    attempt("open " + path, read, path)
