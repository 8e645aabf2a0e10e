// An OpenID provider of another make than dex, for the suites: node server.mjs CONFIG.json
//
// CONFIG: {"port", "clients": [...], "users": {"name": {"groups": [...]}}}. Anybody of `users` logs in
// with any password. POST /lab/users/NAME/disable makes a user unknown from then on.
import { readFileSync } from 'node:fs';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import http from 'node:http';
import Provider from 'oidc-provider';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const issuer = `http://127.0.0.1:${config.port}`;

const key = (alg, type, options) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
  alg,
  use: 'sig',
  kid: randomUUID(),
});

const disabled = new Set();

async function findAccount(_context, name) {
  const user = config.users[name];
  if (!user || disabled.has(name)) return undefined;
  return {
    accountId: name,
    claims: async () => ({
      sub: name,
      email: `${name}@example.org`,
      email_verified: true,
      preferred_username: name,
      groups: user.groups,
    }),
  };
}

const provider = new Provider(issuer, {
  clients: config.clients,
  findAccount,
  jwks: {
    keys: [
      key('ES256', 'ec', { namedCurve: 'P-256' }),
      key('RS256', 'rsa', { modulusLength: 2048 }),
    ],
  },
  scopes: ['openid', 'offline_access', 'email', 'profile', 'groups'],
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['preferred_username'],
    groups: ['groups'],
  },
  conformIdTokenClaims: false,
  cookies: { keys: [randomUUID()] },
  pkce: { required: () => true, methods: ['S256'] },
  rotateRefreshToken: true,
  features: {
    backchannelLogout: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  ttl: { IdToken: 3600, Session: 3600, Grant: 3600, RefreshToken: 3600, AccessToken: 600, Interaction: 600 },
});

const app = provider.callback();
http
  .createServer((request, response) => {
    const name = /^\/lab\/users\/([a-z]+)\/disable$/.exec(request.url)?.[1];
    if (request.method === 'POST' && name) {
      disabled.add(name);
      response.writeHead(204).end();
      return;
    }
    app(request, response);
  })
  .listen(config.port, '127.0.0.1', () => console.log(`ready at ${issuer}`));
