// An OpenID Connect provider: node provider.mjs MODULE PORT BOARD ACCOUNTS. Whoever types an account's name is logged in.
const { default: Provider } = await import(`${process.argv[2]}/lib/index.js`);
const [port, board, accounts] = [Number(process.argv[3]), process.argv[4], JSON.parse(process.argv[5])];
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'greenlight', client_secret: 'a-secret-of-the-tests', redirect_uris: [`${board}/login/oidc/callback`],
    grant_types: ['authorization_code'], response_types: ['code'],
  }],
  pkce: { required: () => true },
  scopes: ['openid', 'email', 'profile', 'groups'],
  claims: {
    openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username', 'github'], groups: ['groups'],
  },
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, ...accounts[id] }) }),
  cookies: { keys: ['tests'] },
});
const server = provider.listen(port, '127.0.0.1', () => console.log(`ready ${server.address().port}`));
process.stdin.on('end', () => process.exit(0)).resume(); // with the test that started it
