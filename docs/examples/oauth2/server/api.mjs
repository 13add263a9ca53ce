// SPDX-License-Identifier: Apache-2.0
//
// An API that takes the tokens of server.mjs, on a Unix socket. It answers 200
// if the request has a valid token, otherwise 401. It is a process of its own,
// so it answers even while the server of tokens does not.
//
// Environment:
//   SOCKET  the path of the socket
//   ISSUER  the address of the server of tokens
//   KEYS    the file with the key of that server, read again for each request

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createLocalJWKSet, jwtVerify } from 'jose';

const { ISSUER, KEYS, SOCKET } = process.env;

async function isValid(token) {
  try {
    const { keys } = JSON.parse(readFileSync(KEYS, 'utf8'));
    const publicKeys = keys.map(({ alg, e, kid, kty, n }) => ({ alg, e, kid, kty, n }));
    await jwtVerify(token, createLocalJWKSet({ keys: publicKeys }), {
      audience: 'urn:notes',
      issuer: ISSUER,
    });
    return true;
  } catch {
    return false;
  }
}

createServer(async (request, response) => {
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '');
  response.statusCode = await isValid(bearer?.[1] ?? '') ? 200 : 401;
  response.end();
}).listen(SOCKET);
