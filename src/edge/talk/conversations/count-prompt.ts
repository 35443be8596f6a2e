/** Builds the prompt of a conversation's next turn, so that its tokens can be counted. */

import { toApiError } from '../../kit/http/errors.ts';
import { Slots } from '../../kit/rooms/slots.ts';
import { refuseRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { layRetained } from '../../named/prefixes/retained-prefix.ts';
import { failedResult, receivedText } from '../answers/crossing-answer.ts';
import { accountRequestOf } from '../answers/object-context.ts';
import type { CountedPrompt, PromptRequest } from '../contracts/conversation.ts';
import { guard } from '../contracts/guard.ts';
import { withoutEdgeBlocks } from '../history/edge-blocks.ts';
import { nextRequest } from '../history/next-request.ts';
import { COMPACTION_BETA, sayOthersInWords } from '../history/stored-summary.ts';
import { checkNamed, planByParts } from './begin-turn.ts';
import type { ConversationState } from './conversation-state.ts';
import { type Taken, takeNamed, withdrawnFrom } from './named-beginning.ts';
import { retainedAgent } from './retained-agent.ts';

/** @returns the prompt of the next turn as it would go up; undefined if the conversation does not exist yet */
export async function promptToCount(
  state: ConversationState,
  request: PromptRequest,
): Promise<CountedPrompt | undefined> {
  const { context } = state;
  const present = () => state.present();
  try {
    const sent = await receivedText(request.body);
    const { only } = request.identity;
    if (!present()?.exists && !only) return undefined;
    const body = present()?.turns ? sent : await withoutEdgeBlocks(sent);
    const profile = present();
    // A bound token is told only what a turn of its own would come to: the object looks at it all.
    const taken = only && !profile ? await takeNamed(context, request.place, request) : undefined;
    return await buildPrompt(state, { ...request, body }, taken);
  } catch (thrown) {
    // A revoked caller must not learn whether the conversation exists.
    const refused = await refuseRevokedCaller(accountRequestOf(context, request.identity)).catch(toApiError);
    return failedResult(refused ?? thrown);
  }
}

/** @throws ApiError as planning a turn does */
async function buildPrompt(
  state: ConversationState,
  asked: PromptRequest & { body: string },
  taken: Taken | undefined,
): Promise<CountedPrompt> {
  const { context } = state;
  const present = () => state.present();
  const { identity, body } = asked;
  const allowed = () => {
    const refused = identity.only && guard().refusalOfTurn(identity, context.transcript, present(), taken?.agent);
    if (refused) throw refused;
    return present();
  };
  const before = allowed();
  if (before) checkNamed(before, asked);
  const withdrawn = await withdrawnFrom(context, before);
  if (withdrawn) throw withdrawn;
  // Meanwhile there may be another conversation of this id.
  const profile = allowed();
  const agent = profile ? retainedAgent(context) : taken?.agent && taken.stored;
  const isBound = identity.only !== undefined;
  sayOthersInWords(context.transcript, context.upstream);
  const request = planByParts(context, { memory: new Slots() }, agent, (model) =>
    nextRequest(body, context.transcript, context.settings(), { agent, counts: true, isBound, model }),
  );
  const { account = '', prefix: retained } = profile ?? {};
  const { bytes } = retained ? (await layRetained(context, account, retained, request.body)).body : request.body;
  const { betas = [] } = agent?.definition ?? {};
  // Without its beta a block cannot be counted.
  const needed = request.withWords ? [...betas, COMPACTION_BETA] : betas;
  return { ok: true, value: new Blob([bytes]).stream(), betas: needed.length > 0 ? needed : undefined };
}
