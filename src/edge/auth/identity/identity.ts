/**
 * The permissions of a credential. `admin` includes the others, and `admin:read` includes `admin:metrics`. The scopes that
 * begin with `admin:` only allow reading.
 */
export const SCOPES = [
  'messages',
  'classify',
  'prefixes',
  'tools',
  'admin:read',
  'admin:metrics',
  'admin:backup',
  'admin',
] as const;

export type Scope = (typeof SCOPES)[number];

/** @returns whether a scope concerns all accounts. An identity provider can grant it only if the operator allows that. */
export function isAdminScope(scope: Scope): boolean {
  return scope === 'admin' || scope.startsWith('admin:');
}

/** The longest name of an account, which is the `sub` of its tokens. */
export const MAX_ACCOUNT_CHARACTERS = 128;

export function isAccountName(name: unknown): name is string {
  if (typeof name !== 'string' || name.length < 1 || name.length > MAX_ACCOUNT_CHARACTERS) return false;
  // Reject lone surrogates: in the name of a Durable Object they become U+FFFD, so two accounts would share an object. Reject
  // `.` and `..`, too: clients resolve them in a path before they send it, so no route could address such an account.
  return name.isWellFormed() && name !== '.' && name !== '..';
}

/** @returns whether a string can name a group. The rules are the same as for an account. */
export function isGroupName(name: unknown): name is string {
  return isAccountName(name);
}

/** The longest id of a token: the claim `jti`. */
export const MAX_TOKEN_ID_CHARACTERS = 256;

/** @returns whether a claim can be an id by which a token is listed and revoked. In a provider's token it may be anything. */
export function isTokenId(claim: unknown): claim is string {
  return (
    typeof claim === 'string' && claim.length >= 1 && claim.length <= MAX_TOKEN_ID_CHARACTERS && claim.isWellFormed()
  );
}

const SOURCE_ACCOUNT = 'webhook-';

/** @returns the account that pays for a source of webhooks, if its definition names no other. */
export function buildWebhookSourceAccount(source: string): string {
  return SOURCE_ACCOUNT + source;
}

/** @returns whether an account belongs to a source of webhooks. Such an account only pays, and has no credentials. */
export function isSourceAccount(name: string): boolean {
  return name.startsWith(SOURCE_ACCOUNT);
}

const VISITOR = 'visitor:';

/** @returns the account of a visitor. @param mark 32 hexadecimal digits */
export function buildVisitorAccount(mark: string): string {
  return VISITOR + mark;
}

/** @returns whether an account is a visitor's: the edge creates it for a user without a login, and it expires. */
export function isVisitor(account: string): boolean {
  return account.startsWith(VISITOR) && /^[0-9a-f]{32}$/.test(account.slice(VISITOR.length));
}

/** @returns with whom an account shares its memory: visitors are free, so all of them take the memory of one */
export function getMemorySharingGroup(account: string): string | undefined {
  return isVisitor(account) ? VISITOR : undefined;
}

/** The owner of what admins store for everybody. It is the name of an account's object, and no token can name it. */
export const DEPLOYMENT = '.';

/** The scopes of an identity provider's token whose `scope` claim names no scope of this edge. */
export const PROVIDER_DEFAULT: readonly Scope[] = ['messages', 'classify'];

/**
 * @param claim names separated by spaces, or a list of names
 * @returns those names that are scopes of this edge
 */
export function parseScopes(claim: unknown): Scope[] {
  const names = Array.isArray(claim) ? claim : typeof claim === 'string' ? claim.split(' ') : [];
  return SCOPES.filter((scope) => names.includes(scope));
}
