// A server with what Node does of its own accord: chunked bodies, trailers, encodings, upgrades.
//
// server.js PORT FOLDER; FOLDER/www has the files, FOLDER/access.log is written.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const path = require('path');
const zlib = require('zlib');

const [port, folder] = process.argv.slice(2);
const log = fs.openSync(path.join(folder, 'access.log'), 'a');

const encoders = {
  gzip: zlib.gzipSync,
  deflate: zlib.deflateSync,
  br: zlib.brotliCompressSync,
  identity: (bytes) => bytes,
};

// Files as they are, or ENCODING of them under /encoded/ENCODING/, or in chunks under /chunked/.
function answer(request, response) {
  const parts = request.url.split('?')[0].split('/').filter(Boolean);
  const file = path.join(folder, 'www', parts[parts.length - 1] || 'none');
  if (!fs.existsSync(file)) {
    const text = 'there is no such file\n';
    response.writeHead(404, { 'Content-Type': 'text/plain', 'Content-Length': text.length });
    return response.end(text);
  }
  const bytes = fs.readFileSync(file);
  if (parts[0] === 'chunked') {
    response.writeHead(200, { Trailer: 'X-Length' });
    for (let at = 0; at < bytes.length; at += 7001) response.write(bytes.subarray(at, at + 7001));
    response.addTrailers({ 'X-Length': String(bytes.length) });
    return response.end();
  }
  const headers = {};
  let body = bytes;
  if (parts[0] === 'encoded') {
    headers['Content-Encoding'] = parts[1];
    const ready = `${file}.${parts[1]}`;
    body = fs.existsSync(ready) ? fs.readFileSync(ready) : encoders[parts[1]](bytes);
  }
  headers['Content-Length'] = body.length;
  response.writeHead(200, headers);
  return response.end(body);
}

const server = http.createServer((request, response) => {
  response.on('finish', () => {
    const { remotePort } = request.socket;
    const line = `${process.pid} ${remotePort} ${request.url} ${response.statusCode} 0 0\n`;
    fs.writeSync(log, line);
  });
  request.resume();
  request.on('end', () => answer(request, response));
});

// RFC 6455: answers the handshake, and echoes whatever comes then, byte by byte.
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'];
  const accept = crypto
    .createHash('sha1')
    .update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11')
    .digest('base64');
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.pipe(socket);
});

server.keepAliveTimeout = 60000;
server.listen(Number(port), '127.0.0.1');
