import { revoked } from '../accounts/admission/admission.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Identity } from '../identity/caller.ts';
import type { ConversationContext } from './conversation-context.ts';

/**
 * Asks the account whether a caller's credential is revoked, for what is answered without an admission.
 *
 * @throws ApiError 401 for a revoked credential
 */
export async function refuseRevokedCaller(
  { env, settings }: Pick<ConversationContext, 'env' | 'settings'>,
  identity: Identity,
): Promise<void> {
  const { token } = identity;
  if (!token) return;
  const seen = { jti: token.jti, iat: token.issued_at, exp: token.expires_at };
  const request = { identity, accounts: env, settings: settings() };
  if (await callAccount(request, (account) => account.isRevoked(seen))) throw revoked();
}
