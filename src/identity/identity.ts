import * as z from '../http/zod.ts';
import { tagsSchema } from './tags.ts';

/** What a credential may do. `admin` includes the others. */
export const SCOPES = ['messages', 'classify', 'prefixes', 'tools', 'admin'] as const;

export type Scope = (typeof SCOPES)[number];

/** The longest name of an account, which is the `sub` of its tokens. */
export const MAX_ACCOUNT_CHARACTERS = 128;

/** @returns whether a string can name an account. */
export function isAccount(name: unknown): name is string {
  if (typeof name !== 'string' || name.length < 1 || name.length > MAX_ACCOUNT_CHARACTERS) return false;
  // In an object's name a lone surrogate becomes the replacement character, so that two accounts would be one.
  // Clients resolve `.` and `..` in a path before they send it: no route could name such an account.
  return name.isWellFormed() && name !== '.' && name !== '..';
}

/** @returns whether a string can name a group. The rules are the same as for an account. */
export function isGroup(name: unknown): name is string {
  return isAccount(name);
}

const SOURCE_ACCOUNT = 'webhook-';

/** @returns the account that pays for a source of webhooks, if its definition names no other. */
export function sourceAccount(source: string): string {
  return SOURCE_ACCOUNT + source;
}

/** @returns whether an account belongs to a source of webhooks. Such an account only pays, and nobody logs in as it. */
export function isSourceAccount(name: string): boolean {
  return name.startsWith(SOURCE_ACCOUNT);
}

/** `z.readonly` would do the same and freeze them, but adds too much code. */
const scopesSchema: z.ZodMiniType<readonly Scope[], readonly Scope[]> = z.array(z.enum(SCOPES));

/** The form in which a Worker's own `authenticate` says who asks. */
export const callerSchema = z.strictObject({
  account: z.described(
    z.custom<string>(isAccount, 'must be 1 to 128 characters'),
    'Whose budget, conversations and prefixes these are.',
  ),
  scopes: z.described(z._default(scopesSchema, ['messages', 'classify']), 'What the caller may do.'),
  group: z.optionally(
    z.custom<string>(isGroup, 'must be 1 to 128 characters'),
    'Whose shared budget pays too, unless an admin has chosen another group.',
  ),
  token: z.optionally(
    z.strictObject({
      jti: z.described(z.string().check(z.minLength(1), z.maxLength(256)), 'Its own id, not the credential itself.'),
      issued_at: z.optionally(z.int(), 'Seconds since 1970; without it, revoking all revokes it for ever.'),
      expires_at: z.optionally(z.int(), 'Seconds since 1970; the edge lists it until then, and refuses nothing by it.'),
    }),
    'The credential, if it shall be listed and revocable at this edge.',
  ),
  tags: z.optionally(
    tagsSchema,
    'What the ledger books its requests under; without them the header `sluice-tags` says so.',
  ),
});

export type Caller = z.input<typeof callerSchema>;

/** The owner of what admins store for everybody. It is the name of an account's object, and no token can name it. */
export const DEPLOYMENT = '.';
