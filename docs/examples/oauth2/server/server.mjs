// SPDX-License-Identifier: Apache-2.0
//
// An OAuth 2.0 server (oidc-provider) and an API that takes its tokens, on one
// Unix socket. All state is in memory, so a restart makes every token invalid.
//
// Environment:
//   SOCKET  the path of the socket
//   ISSUER  the address that clients use
//   TTL     how long an access token lives, in seconds
//   LOG     a file; each request adds a line: "token 200 client_credentials"
//   LOGIN   a file, to which the refresh token of a new login is written

import { appendFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const { SOCKET, ISSUER, TTL, LOG, LOGIN } = process.env;

const provider = new Provider(ISSUER, {
  clients: [
    {
      client_id: 'notes',
      client_secret: 'right-secret',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
    {
      client_id: 'notes-app',
      client_secret: 'app-secret',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['https://localhost/callback'],
      token_endpoint_auth_method: 'client_secret_post',
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: { AccessToken: Number(TTL), ClientCredentials: Number(TTL) },
  interactions: { url: () => '/none' },
});
provider.proxy = true;

function log(line) {
  appendFileSync(LOG, `${line}\n`);
}

provider.use(async (ctx, next) => {
  await next();
  if (ctx.path === '/token') {
    log(`token ${ctx.status} ${ctx.oidc?.params?.grant_type}`);
  }
});

// What a user's login would give to the client.
async function logIn() {
  const client = await provider.Client.find('notes-app');
  const grant = new provider.Grant({ accountId: 'user', clientId: 'notes-app' });
  grant.addOIDCScope('openid offline_access');
  const token = new provider.RefreshToken({
    accountId: 'user',
    authTime: Math.floor(Date.now() / 1000),
    client,
    expiresWithSession: false,
    grantId: await grant.save(),
    gty: 'authorization_code',
    scope: 'openid offline_access',
  });
  writeFileSync(LOGIN, await token.save(), { mode: 0o600 });
}

async function api(request, response) {
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '');
  const value = bearer?.[1] ?? '';
  const token = (await provider.ClientCredentials.find(value)) ??
    (await provider.AccessToken.find(value));
  response.statusCode = token?.isValid ? 200 : 401;
  log(`api ${response.statusCode}`);
  response.end();
}

await logIn();
const callback = provider.callback();
createServer((request, response) => {
  (request.url === '/api' ? api : callback)(request, response);
}).listen(SOCKET);
