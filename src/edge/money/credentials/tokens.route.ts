/** Serves tokens: admins create, list and revoke them. */

import type { Context } from 'hono';
import { storeMark } from '../../auth/account-mark-index.ts';
import type { AppEnv, RouteTerms } from '../../auth/context.ts';
import { iterateAccountsOfMark } from '../../auth/find-account-by-mark.ts';
import { isAdminScope, isTokenId, MAX_TOKEN_ID_CHARACTERS } from '../../auth/identity/identity.ts';
import { parseStoredTags } from '../../auth/identity/tags.ts';
import { extractMarkOfToken, mintToken } from '../../auth/mint.ts';
import { canUseRestrictedTokens, findTokenOriginUnknownToDeployment } from '../../auth/restricted-routes.ts';
import { defineRoute } from '../../auth/route.ts';
import type { Settings } from '../../config/settings.ts';
import { createInvalidRequestError, createMisconfiguredError, createNotFoundError } from '../../kit/http/errors.ts';
import { paginateRowsInMemory, parsePageQuery } from '../../kit/http/page.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { operatorList } from '../../kit/kv/name-list.ts';
import type { OwnedTokenRow } from '../account/usage-answers.schema.ts';
import { readJsonBody } from '../admission/read-body.ts';
import { createChangeOrigin, logChange } from '../changes/change-origin.ts';
import { createAccountCaller } from '../contracts/call-account.ts';
import { MAX_MINTED_TOKENS } from './credentials.ts';
import { mintRequest, tokensQuery } from './tokens.schema.ts';
import type { MintedTokenAnswer, RenewedTokenAnswer } from './tokens-answers.schema.ts';

/** The limit is far above what a page sends: a page renews its token once in each lifetime of the token. */
const RENEWAL_TERMS = {
  needs: 'credential',
  openToRestrictedTokens: true,
  endsSpending: true,
  tokenLimit: { name: 'renewals_per_minute', requestsPerMinute: 60 },
} as const satisfies RouteTerms;

/** The routes by which an admin mints, lists and revokes credentials. */
export const TOKEN_ROUTES = [
  defineRoute('POST /tokens', { needs: 'admin', body: mintRequest }, async (c, { body }) => {
    const settings = c.get('settings');
    const secret = requireSigningSecret(settings);
    const { json } = await readJsonBody(c);
    const {
      account,
      scopes,
      expires_in: expiresIn,
      label,
      limits,
      tags,
      only,
      session: sessionSeconds,
    } = validateBySchema(body, json);
    const session =
      sessionSeconds === undefined || expiresIn === undefined
        ? undefined
        : { end: Math.floor(Date.now() / 1_000) + sessionSeconds, seconds: expiresIn };
    if (only && !canUseRestrictedTokens())
      throw createInvalidRequestError(
        'only: restricted tokens require the plugin `agents`, which this deployment does not include. Ask its operator to add it.',
      );
    const other = only && findTokenOriginUnknownToDeployment(only, settings, new URL(c.req.url).origin);
    if (other !== undefined)
      throw createInvalidRequestError(
        `only.origins: ${other} is not in ALLOWED_ORIGINS, so its pages could not use the token. Remove it, or ask the operator to add it.`,
      );
    const minted = await mintToken(secret, { account, scopes, expiresIn, label, tags, only, session });
    const { jti, issued_at, expires_at } = minted;
    // A session can be renewed until its end, so the account keeps the token's limits and its revocation until then.
    const token = { jti, scopes: [...scopes], label, limits, iat: issued_at, exp: session?.end ?? expires_at };
    // Do not return a token that the account has not recorded.
    if (!(await createAccountCaller(c, account)((object) => object.recordMintedToken(token, createChangeOrigin(c))))) {
      throw createInvalidRequestError(
        `This account has ${MAX_MINTED_TOKENS} valid tokens, which is the maximum. Revoke some of them. With \`expires_in\`, tokens expire by themselves.`,
      );
    }
    logChange(c, { type: 'token', id: jti, account }, ['scopes']);
    if (scopes.some(isAdminScope)) await noteOperatorAccount(c, account, jti);
    const answer: MintedTokenAnswer = {
      token: minted.token,
      jti,
      account,
      scopes,
      limits: limits ?? null,
      only: only ?? null,
      expires_at: expires_at === undefined ? null : formatUnixSeconds(expires_at),
    };
    return c.json(answer, 201);
  }),
  defineRoute('POST /tokens/renew', RENEWAL_TERMS, async (c) => {
    const { account, scopes, token, tags, only } = c.get('identity');
    const { session, jti, label, issued_at: issuedAt } = token ?? {};
    const left = (session?.end ?? 0) - Math.floor(Date.now() / 1_000);
    if (!session || jti === undefined || issuedAt === undefined || left <= 0) {
      throw createInvalidRequestError(
        'This credential cannot be renewed, because it was created without `session`, or its session has ended. Log in again, or ask the operator for a new token.',
      );
    }
    const renewed = await mintToken(requireSigningSecret(c.get('settings')), {
      account,
      scopes,
      label,
      only,
      session,
      renews: { jti, issuedAt },
      expiresIn: Math.min(session.seconds, left),
      tags: tags === undefined ? undefined : parseStoredTags(tags),
    });
    const answer: RenewedTokenAnswer = {
      token: renewed.token,
      jti,
      expires_at: formatUnixSeconds(renewed.expires_at ?? session.end),
      session_ends_at: formatUnixSeconds(session.end),
    };
    return c.json(answer, 201);
  }),
  defineRoute('GET /tokens', { needs: 'admin:read', pages: true, query: tokensQuery }, async (c, { query }) => {
    validateBySchema(query, c.req.query());
    const rows: OwnedTokenRow[] = [];
    for await (const account of operatorList.iterateNames(c.env.STORE)) {
      const tokens = await createAccountCaller(c, account)((object) => object.listOperatorTokens());
      rows.push(...tokens.map((token) => ({ ...token, account })));
    }
    return c.json(paginateRowsInMemory(rows, parsePageQuery(c.req.query()), ({ jti }) => jti, 'end'));
  }),
  defineRoute('GET /tokens/:jti', { needs: 'admin:read' }, async (c) => {
    const jti = c.req.param('jti');
    const mark = extractMarkOfToken(jti);
    for await (const account of mark === undefined ? [] : iterateAccountsOfMark(c, mark)) {
      const token = await createAccountCaller(c, account)((object) => object.findToken(jti));
      if (token) return c.json({ ...token, account } satisfies OwnedTokenRow);
    }
    throw createNotFoundError(
      'No account knows this token. Tokens that an identity provider issued, or that were never used, are listed only by GET /accounts/:id/tokens.',
    );
  }),
  defineRoute('GET /accounts/:id/tokens', { needs: 'admin:read', pages: true }, async (c) => {
    const page = parsePageQuery(c.req.query());
    return c.json(await createAccountCaller(c, c.req.param('id'))((object) => object.listTokens(page)));
  }),
  defineRoute('DELETE /accounts/:id/tokens', { needs: 'admin', endsSpending: true }, async (c) => {
    await createAccountCaller(c, c.req.param('id'))((object) => object.revokeAllTokens(createChangeOrigin(c)));
    logChange(c, { type: 'account', id: c.req.param('id') }, ['all_revoked_at']);
    return c.json({ account: c.req.param('id'), revoked: 'all' });
  }),
  defineRoute('DELETE /accounts/:id/tokens/:jti', { needs: 'admin', endsSpending: true }, async (c) => {
    const { id } = c.req.param();
    const jti = requireTokenIdParam(c);
    await createAccountCaller(c, id)((object) => object.revokeToken(jti, createChangeOrigin(c)));
    logChange(c, { type: 'token', id: jti, account: id }, ['revoked_at']);
    return c.json({ account: id, revoked: jti });
  }),
];

/** Records the account of a token for operators, so that the token is found before its first use. */
async function noteOperatorAccount(c: Context<AppEnv>, account: string, jti: string): Promise<void> {
  const { STORE } = c.env;
  const mark = extractMarkOfToken(jti);
  await Promise.all([operatorList.addName(STORE, account), mark && storeMark(STORE, mark, account)]);
}

/** @throws ApiError 500 for a deployment that cannot mint */
function requireSigningSecret({ SIGNING_SECRET }: Settings): string {
  if (SIGNING_SECRET !== undefined) return SIGNING_SECRET;
  throw createMisconfiguredError(
    'This deployment has no SIGNING_SECRET to sign tokens. Its operator can set it with: npx wrangler secret put SIGNING_SECRET',
  );
}

/** @returns the time as text. @param seconds since 1970 */
const formatUnixSeconds = (seconds: number): string => toIsoTime(seconds * 1_000);

const JWT = /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/;

/** @throws ApiError 400 for a whole token, or for an id that no token can have */
function requireTokenIdParam(c: Context<AppEnv>): string {
  const jti = c.req.param('jti');
  if (jti !== undefined && JWT.test(jti))
    throw createInvalidRequestError(
      'jti: this is a whole token. Send its id: `jti` in the response that created the token, or the claim `jti` in its payload, which is the second part, in base64url. GET /accounts/:id/tokens lists the ids.',
    );
  if (!isTokenId(jti))
    throw createInvalidRequestError(
      `jti: must have 1 to ${MAX_TOKEN_ID_CHARACTERS} characters. GET /accounts/:id/tokens lists the ids.`,
    );
  return jti;
}
