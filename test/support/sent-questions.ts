import { createSimulatorUpstream } from '#edge/claude/simulator-upstream.ts';
import { installSimulator, setConversationUpstream } from './conversations.ts';
import { disableThinking } from './without-thinking.ts';

/** @returns a text by which a long one is compared: the difference of two long ones takes minutes to compute */
export const beginningOf = (content: unknown) => String(content).slice(0, 20);

/**
 * Has conversations answered by the simulator.
 *
 * @returns the questions of each prompt that is sent from now on, each by its beginning
 */
export function recordSentQuestions(): string[][] {
  const { fetch, ...upstream } = createSimulatorUpstream(installSimulator());
  const sent: string[][] = [];
  const answer = disableThinking(async (request) => {
    const { messages } = await request.clone().json<{ messages: { role: string; content: unknown }[] }>();
    sent.push(messages.filter(({ role }) => role === 'user').map(({ content }) => beginningOf(content)));
    return await fetch(request.url, request);
  });
  setConversationUpstream(async (url, init) => await answer(url, init), upstream);
  return sent;
}
