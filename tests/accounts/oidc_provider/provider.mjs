// A certified OpenID provider on a free port. Who signs in is named by the browser's header `x-account`; `x-deny`
// means that it does not agree. Clients register themselves (OpenID Connect Dynamic Client Registration).
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const accounts = {
  maya: { email: 'Maya@People.example', email_verified: true, name: 'Maya' },
  boss: { email: 'boss@people.example', email_verified: true, realm_access: { roles: ['staff', 'charging-bosses'] } },
  chief: { email: 'chief@people.example', email_verified: true, realm_access: { roles: ['charging-bosses'] } },
  crowd: { email: 'crowd@people.example', email_verified: true },
  eve: { email: 'eve@people.example', email_verified: false },
};

async function key(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: alg };
}

const keys = [await key('RS256'), await key('ES256')];
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ['of a test'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], roles: ['realm_access'] },
    scopes: ['openid', 'email', 'profile', 'roles'],
    pkce: { required: () => true },
    features: { registration: { enabled: true }, devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, id) => accounts[id] && { accountId: id, claims: async () => ({ sub: id, ...accounts[id] }) },
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid email profile roles');
      await grant.save();
      return grant;
    },
  });
  provider.use(async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const result = ctx.get('x-deny')
      ? { error: 'access_denied', error_description: 'not today' }
      : { login: { accountId: ctx.get('x-account') } };
    ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result));
  });
  server.on('request', provider.callback());
  console.log(JSON.stringify({ at: 'listening', issuer }));
});
process.stdin.on('end', () => process.exit(0)).resume(); // who started this has gone
