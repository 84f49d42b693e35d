"""A small Hugging Face Hub on this machine: what uploading and downloading a model needs, in memory."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0" * 39 + "1"


class HubStub(ThreadingHTTPServer):
    """Holds {hub id: {"private": bool, "files": {name: bytes}}}; only the token may write, and read what is private."""

    daemon_threads = True

    def __init__(self, token="hf_right"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.token, self.repos, self.blobs, self.requests = token, {}, {}, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status=200, body=b"", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        hub, path = self.server, unquote(self.path.partition("?")[0])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append((self.command, path))
        may = self.headers.get("Authorization") == f"Bearer {hub.token}"
        parts = path.strip("/").split("/")
        if self.command == "PUT":  # the blobs' addresses were given to who may write
            hub.blobs[parts[-1]] = body
            return self.answer()
        if not may and (self.command == "POST" or hub.repos.get("/".join(self.hub_id(parts)), {}).get("private", True)):
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            wanted = json.loads(body)
            hub_id = f"{wanted.get('organization') or 'ann'}/{wanted['name']}"
            exists = hub_id in hub.repos
            private = wanted.get("private", wanted.get("visibility") == "private")
            hub.repos.setdefault(hub_id, {"private": private, "files": {}})
            return self.answer(409 if exists else 200, {"url": f"{hub.url}/{hub_id}"})
        if path == "/api/validate-yaml":
            return self.answer(body={"errors": [], "warnings": []})
        hub_id = "/".join(self.hub_id(parts))
        if hub_id not in hub.repos:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        repo = hub.repos[hub_id]
        if "preupload" in parts:
            return self.answer(
                body={
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs" if file["path"].endswith(".ckpt") else "regular",
                            "shouldIgnore": False,
                        }
                        for file in json.loads(body)["files"]
                    ]
                }
            )
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{hub.url}/blobs/{wanted['oid']}", "header": {}}}}
                for wanted in json.loads(body)["objects"]
            ]
            return self.answer(body={"transfer": "basic", "objects": objects})
        if "commit" in parts:
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    repo["files"][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "lfsFile":
                    repo["files"][entry["value"]["path"]] = hub.blobs[entry["value"]["oid"]]
            return self.answer(body={"commitUrl": f"{hub.url}/{hub_id}/commit/{COMMIT}", "commitOid": COMMIT})
        if "resolve" in parts:
            name = parts[-1]
            if name not in repo["files"]:
                return self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            content = repo["files"][name]
            return self.answer(body=content, X_Repo_Commit=COMMIT, ETag=f'"{hashlib.sha256(content).hexdigest()}"')
        if parts[0] == "api":
            files = [{"rfilename": name, "size": len(content)} for name, content in sorted(repo["files"].items())]
            tree = [{"type": "file", "path": f["rfilename"], "size": f["size"], "oid": "0"} for f in files]
            if "tree" in parts:
                return self.answer(body=tree)
            return self.answer(
                body={"id": hub_id, "sha": COMMIT, "private": repo["private"], "siblings": files, "tags": []}
            )
        return self.answer(501, {"error": f"not in the stub: {self.command} {path}"})

    do_GET = do_POST = do_PUT = do_HEAD = handle_request

    @staticmethod
    def hub_id(parts):
        found = parts[2:4] if parts[:2] == ["api", "models"] else parts[:2]
        return [part.removesuffix(".git") for part in found]
