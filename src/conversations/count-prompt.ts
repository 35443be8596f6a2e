/** Builds the prompt of a conversation's next turn, so that its tokens can be counted. */

import { refuseRevokedCaller } from '../accounts/admission/refuse-revoked.ts';
import type { PromptRequest, Result } from '../durable/contracts/conversation.ts';
import { toApiError } from '../http/errors.ts';
import { failedResult, receivedText } from './answers/crossing-answer.ts';
import { accountRequestOf } from './answers/object-context.ts';
import { checkNamed } from './begin-turn.ts';
import { nextRequest } from './history/next-request.ts';
import type { ConversationContext } from './maintenance.ts';
import { retainedAgent, withdrawnFrom } from './retained-agent.ts';
import { layRetained } from './retained-prefix.ts';
import type { Profile } from './storage/rows.ts';

/** @returns the prompt of the next turn as it would go up; undefined if the conversation does not exist yet */
export async function promptToCount(
  context: ConversationContext,
  present: () => Profile | undefined,
  request: PromptRequest,
): Promise<Result<ReadableStream<Uint8Array>> | undefined> {
  try {
    const body = await receivedText(request.body);
    const profile = present();
    if (!profile?.exists) return undefined;
    return { ok: true, value: await buildPrompt(context, profile, { ...request, body }) };
  } catch (thrown) {
    // A revoked caller must not learn whether the conversation exists.
    const refused = await refuseRevokedCaller(accountRequestOf(context, request.identity)).catch(toApiError);
    return failedResult(refused ?? thrown);
  }
}

/** @throws ApiError as planning a turn does */
async function buildPrompt(
  context: ConversationContext,
  profile: Profile,
  asked: PromptRequest & { body: string },
): Promise<ReadableStream<Uint8Array>> {
  checkNamed(profile, asked);
  const withdrawn = await withdrawnFrom(context, profile);
  if (withdrawn) throw withdrawn;
  const { account, prefix: retained } = profile;
  const agent = retainedAgent(context);
  const request = nextRequest(asked.body, context.transcript, context.settings(), { agent, counts: true });
  const { bytes } = retained ? (await layRetained(context, account, retained, request.body)).body : request.body;
  return new Blob([bytes]).stream();
}
