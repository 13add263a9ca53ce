// SPDX-License-Identifier: Apache-2.0
//
// An OAuth 2.0 server (oidc-provider), on a Unix socket. Its state is in memory,
// so a restart makes every refresh token invalid. Access tokens are signed: they
// remain valid as long as the key does.
//
// Environment:
//   SOCKET  the path of the socket
//   ISSUER  the address that clients use
//   TTL     how long an access token lives, in seconds
//   SECRET  the secret of the client "notes"
//   KEYS    a file with the key that signs access tokens; made if missing
//   LOG     a file; each request adds a line: "token 200 client_credentials"
//   LOGIN   a file, to which the refresh token of a new login is written

import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const { ISSUER, KEYS, LOG, LOGIN, SECRET, SOCKET, TTL } = process.env;

if (!existsSync(KEYS)) {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const key = { ...await exportJWK(privateKey), alg: 'RS256', kid: randomUUID() };
  writeFileSync(KEYS, JSON.stringify({ keys: [key] }), { mode: 0o600 });
}

const provider = new Provider(ISSUER, {
  clients: [
    {
      client_id: 'notes',
      client_secret: SECRET,
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
    resourceIndicators: {
      defaultResource: () => 'urn:notes',
      enabled: true,
      getResourceServerInfo: () => ({
        accessTokenFormat: 'jwt',
        accessTokenTTL: Number(TTL),
        audience: 'urn:notes',
        scope: 'read',
      }),
      useGrantedResource: () => true,
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: () => '/none' },
  jwks: JSON.parse(readFileSync(KEYS, 'utf8')),
  rotateRefreshToken: true,
});
provider.proxy = true;

provider.use(async (ctx, next) => {
  await next();
  if (ctx.path === '/token') {
    appendFileSync(LOG, `token ${ctx.status} ${ctx.oidc?.params?.grant_type}\n`);
  }
});

// Writes a refresh token to LOGIN, as a user's login would bring it to the
// client.
async function logIn() {
  const client = await provider.Client.find('notes-app');
  const grant = new provider.Grant({ accountId: 'user', clientId: 'notes-app' });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope('urn:notes', 'read');
  const token = new provider.RefreshToken({
    accountId: 'user',
    authTime: Math.floor(Date.now() / 1000),
    client,
    expiresWithSession: false,
    grantId: await grant.save(),
    gty: 'authorization_code',
    resource: 'urn:notes',
    scope: 'openid offline_access read',
  });
  writeFileSync(LOGIN, await token.save(), { mode: 0o600 });
}

await logIn();
provider.listen(SOCKET);
