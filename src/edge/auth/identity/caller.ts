import * as z from '../../kit/http/zod.ts';
import { isAccountName, isGroupName, SCOPES, type Scope } from './identity.ts';
import { onlySchema, type TokenRestrictions } from './only.ts';
import { tagsSchema } from './tags.ts';
import type { TokenLocation } from './token-location.ts';

/** Seconds by which the clock of a token's issuer may be wrong (RFC 7519, 4.1.4 and 4.1.5). */
export const LEEWAY_S = 10;

/** The verified caller of a request. */
export interface Identity {
  account: string;
  scopes: readonly Scope[];
  /** The token that was sent; undefined if none was needed, as in development. */
  token: VerifiedToken | undefined;
  /** The group that the credential names; absent if it names none. */
  group?: string | undefined;
  /** The tags of the request, as `tags.ts` writes them: from the token's claim, otherwise from the request's header. */
  tags?: string | undefined;
  /** A hash of the end user that the request names. */
  user?: string | undefined;
  /** The restrictions of a restricted token; absent for any other credential. */
  only?: TokenRestrictions | undefined;
  /** From where the token is used. Absent without a token, and for visitors, restricted tokens and sessions. */
  location?: TokenLocation | undefined;
}

/** A caller with a restricted token, for calls that must check its restrictions. */
export type RestrictedCaller = Pick<Identity, 'account' | 'only'>;

/** How a token of this edge can be renewed. */
export interface TokenRenewal {
  /** When it cannot be renewed any more; seconds since 1970. */
  end: number;
  /** How long each of its tokens is valid, in seconds. */
  seconds: number;
}

/**
 * What an account's object knows about a token, to reject it once it is revoked and to list it. The token itself is not stored.
 */
export interface VerifiedToken {
  /** The token's own id, or for a provider's token without one, a hash of it. */
  jti: string;
  /** Seconds since 1970. */
  issued_at: number | undefined;
  /** Seconds since 1970. */
  expires_at: number | undefined;
  scopes: readonly Scope[];
  label: string | undefined;
  issuer: 'edge' | 'provider';
  /** How it can be renewed; absent for a token that cannot be. */
  session?: TokenRenewal | undefined;
  /** The mark of its account by the secret that signed it; absent for a provider's token. It shows whether that secret ended. */
  mark?: string | undefined;
}

/** `z.readonly` would do the same and freeze them, but adds too much code. */
const scopesSchema: z.ZodMiniType<readonly Scope[], readonly Scope[]> = z.array(z.enum(SCOPES));

/** The form in which a Worker's own `authenticate` returns the caller. */
export const callerSchema = z.strictObject({
  account: z.addDescription(
    z.custom<string>(isAccountName, 'must be 1 to 128 characters'),
    'The account that pays, and that owns the conversations and prefixes.',
  ),
  scopes: z.addDescription(z._default(scopesSchema, ['messages', 'classify']), 'What the caller is allowed to do.'),
  group: z.createOptionalField(
    z.custom<string>(isGroupName, 'must be 1 to 128 characters'),
    'The group whose shared budget also pays, unless an admin has chosen another group.',
  ),
  token: z.createOptionalField(
    z.strictObject({
      jti: z.addDescription(
        z.string().check(z.minLength(1), z.maxLength(256)),
        'The id of the credential, not the credential itself.',
      ),
      issued_at: z.createOptionalField(
        z.int(),
        'Seconds since 1970. If absent, revoking all tokens of the account revokes this one permanently.',
      ),
      expires_at: z.createOptionalField(
        z.int(),
        'Seconds since 1970. The credential is listed until then. Sluice does not reject it later.',
      ),
    }),
    'The credential, if this deployment should list it and be able to revoke it.',
  ),
  only: z.createOptionalField(onlySchema, 'Restricts the caller to these agents, classifiers and conversations.'),
  tags: z.createOptionalField(
    tagsSchema,
    'The tags of the caller’s requests in the ledger. If absent, the header `sluice-tags` sets them.',
  ),
});

export type Caller = z.input<typeof callerSchema>;
