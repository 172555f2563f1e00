// A server and a client of HTTPS, for Node and Bun.
//
//   peer.js server PORT CERT KEY   GET /bytes/N answers N bytes; POST /count, how many came
//   peer.js client PORT TIMES      asks for the same things, TIMES times over one connection, and at
//                                  the end gets and posts as many bytes as BIG says
//
// A client first says "ready", and starts when it is told to on standard input. With OLDER in its
// environment, its connection is used once before.
'use strict';
const fs = require('fs');
const https = require('https');
const readline = require('readline');

const [what, port, ...others] = process.argv.slice(2);

function answer(request, response) {
  let received = 0;
  request.on('data', (bytes) => {
    received += bytes.length;
  });
  request.on('end', () => {
    const size = request.url.match(/^\/bytes\/(\d+)/);
    const body = size ? Buffer.alloc(Number(size[1]), 'x') : Buffer.from(`${received}\n`);
    response.writeHead(200, { 'Content-Length': body.length });
    response.end(body);
  });
}

function ask(agent, method, path, sent, expected) {
  return new Promise((resolve, reject) => {
    const headers = sent ? { 'Content-Length': sent } : {};
    const options = { host: '127.0.0.1', port, method, path, headers, agent, rejectUnauthorized: false };
    const request = https.request(options, (response) => {
      let got = 0;
      response.on('data', (bytes) => {
        got += bytes.length;
      });
      response.on('end', () => {
        const right = response.statusCode === 200 && got === expected;
        return right ? resolve() : reject(new Error(`${path}: ${response.statusCode}, ${got} bytes`));
      });
    });
    request.on('error', reject);
    request.end(Buffer.alloc(sent, 'y'));
  });
}

async function client(times) {
  const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  if (process.env.OLDER) await ask(agent, 'GET', '/bytes/1000', 0, 1000);
  console.log('ready');
  await input.next();
  for (; times > 0; times -= 1) {
    await ask(agent, 'GET', '/bytes/1000', 0, 1000);
    await ask(agent, 'POST', '/count', 100000, 7);
    await ask(agent, 'GET', '/bytes/50000', 0, 50000);
  }
  const big = process.env.BIG;
  if (big) {
    await ask(agent, 'GET', `/bytes/${big}`, 0, Number(big));
    await ask(agent, 'POST', '/count', Number(big), big.length + 1);
  }
  console.log('done');
  // The connection stays open until it is told to go.
  await input.next();
  process.exit(0);
}

if (what === 'server') {
  const [cert, key] = others.map((file) => fs.readFileSync(file));
  https.createServer({ cert, key, keepAliveTimeout: 60000 }, answer).listen(Number(port), '127.0.0.1');
} else {
  client(Number(others[0]));
}
