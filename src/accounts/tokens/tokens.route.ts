import { requireScope } from '../../auth/authenticate.ts';
import { type AppEnv, accountOf } from '../../auth/context.ts';
import { mintToken } from '../../auth/mint.ts';
import { invalidRequest, misconfigured } from '../../http/errors.ts';
import { Hono } from '../../http/hono.ts';
import { readPage } from '../../http/page.ts';
import { validate } from '../../http/validate.ts';
import { readJson } from '../admission/read-body.ts';
import { MOST_MINTED } from './credentials.ts';
import { mintRequest } from './tokens.schema.ts';
import type { MintedTokenAnswer } from './tokens-answers.schema.ts';

/** Makes the routes by which an admin mints, lists and revokes credentials. */
export function tokensRoutes() {
  return new Hono<AppEnv>()
    .post('/tokens', requireScope('admin'), async (c) => {
      const settings = c.get('settings');
      const { SIGNING_SECRET } = settings;
      if (SIGNING_SECRET === undefined) {
        throw misconfigured(
          'This deployment has no SIGNING_SECRET to mint with. Its operator sets it with: npx wrangler secret put SIGNING_SECRET',
        );
      }
      const { json } = await readJson(c);
      const { account, scopes, expires_in, label, limits, tags } = validate(mintRequest, json);
      const minted = await mintToken(SIGNING_SECRET, { account, scopes, expiresIn: expires_in, label, tags });
      const { jti, issued_at, expires_at } = minted;
      const known = { jti, scopes: [...scopes], label, limits, iat: issued_at, exp: expires_at };
      // A token that could not be noted is not given out.
      if (!(await accountOf(c, account)((object) => object.rememberToken(known)))) {
        throw invalidRequest(
          `This account has ${MOST_MINTED} valid tokens, the most that it may. Revoke some, or send expires_in.`,
        );
      }
      const answer: MintedTokenAnswer = {
        token: minted.token,
        jti,
        account,
        scopes,
        limits: limits ?? null,
        expires_at: expires_at === undefined ? null : new Date(expires_at * 1_000).toISOString(),
      };
      return c.json(answer, 201);
    })
    .get('/accounts/:id/tokens', requireScope('admin'), async (c) => {
      const page = readPage(c.req.query());
      return c.json(await accountOf(c, c.req.param('id'))((object) => object.tokens(page)));
    })
    .delete('/accounts/:id/tokens', requireScope('admin'), async (c) => {
      await accountOf(c, c.req.param('id'))((object) => object.revokeAll());
      return c.json({ account: c.req.param('id'), revoked: 'all' });
    })
    .delete('/accounts/:id/tokens/:jti', requireScope('admin'), async (c) => {
      const { id, jti } = c.req.param();
      await accountOf(c, id)((object) => object.revokeToken(jti));
      return c.json({ account: id, revoked: jti });
    });
}
