import { buildVisitorAccount } from '../../auth/identity/identity.ts';
import { RESTRICTED_SCOPES } from '../../auth/identity/only.ts';
import { mintToken } from '../../auth/mint.ts';
import { readShortBody } from '../../auth/read-short-body.ts';
import { defineRoute } from '../../auth/route.ts';
import { computeHmac, encodeUtf8, toHex } from '../../kit/http/bytes.ts';
import { createNotFoundError } from '../../kit/http/errors.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { createVisitorRequestSchema, withTurnstile } from '../../money/credentials/tokens.schema.ts';
import type { VisitorTokenAnswer } from '../../money/credentials/tokens-answers.schema.ts';
import { rateLimitNewVisitor } from './limit-new-visitors.ts';
import { verifyTurnstileToken } from './turnstile.ts';

/** How long each token of a visitor is valid, in seconds. It is renewed until the visitor's own time is over. */
const TOKEN_SECONDS = 3_600;

/**
 * The route by which a page gets a token for a person without a login. It writes nothing: the token contains everything, and
 * the account is created by its first request.
 */
export const VISITOR_ROUTES = [
  defineRoute('POST /tokens/visitor', { needs: 'nothing', body: withTurnstile }, async (c) => {
    const settings = c.get('settings');
    const { VISITORS: visitors, SIGNING_SECRET: secret } = settings;
    if (!visitors || secret === undefined)
      throw createNotFoundError('This deployment does not accept visitors. Get a token from the server of the page.');
    const address = c.req.header('cf-connecting-ip') ?? null;
    await rateLimitNewVisitor(c.env, address);
    const sent = validateBySchema(createVisitorRequestSchema(visitors.turnstile), await readShortBody(c));
    const turnstile = visitors.turnstile ? sent.turnstile : undefined;
    // Derive the visitor's name from the Turnstile response: a caller that repeats its request after losing our response gets
    // the same visitor.
    const seed = turnstile ?? crypto.randomUUID();
    const mark = toHex(await computeHmac(encodeUtf8(`sluice visitor ${seed}`), encodeUtf8(secret), 'SHA-256')).slice(
      0,
      32,
    );
    const id = mark.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    const now = Date.now();
    const bornAt =
      turnstile === undefined ? now : await verifyTurnstileToken({ response: turnstile, id, address }, settings);
    const born = Math.floor(Math.min(bornAt, now) / 1_000);
    const session = { end: born + visitors.seconds, seconds: Math.min(TOKEN_SECONDS, visitors.seconds) };
    const account = buildVisitorAccount(mark);
    c.get('entry').line.account = account;
    const minted = await mintToken(secret, {
      account,
      scopes: RESTRICTED_SCOPES,
      only: visitors.only,
      session,
      renews: { jti: id, issuedAt: born },
      expiresIn: Math.min(session.seconds, session.end - Math.floor(now / 1_000)),
    });
    const answer: VisitorTokenAnswer = {
      token: minted.token,
      jti: id,
      account,
      expires_at: toIsoTime((minted.expires_at ?? session.end) * 1_000),
      session_ends_at: toIsoTime(session.end * 1_000),
    };
    return c.json(answer, 201);
  }),
];
