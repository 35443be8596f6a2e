import type { WordsOf } from '../../kit/http/headers/answer-headers.ts';
import type { Room } from '../room.ts';
import { AGENT_MEMBERS } from './agents.schema.ts';

const AGENT_HEADERS = ['sluice-agent'] as const;
export const AGENT_HEADER_WORDS: WordsOf<typeof AGENT_HEADERS> = {
  'sluice-agent': 'The agent that has answered: name@version.',
};

/** Agents: prompts, tools and models stored by name. */
export const agentsRoom: Room = { name: 'agents', headers: AGENT_HEADERS, members: AGENT_MEMBERS };
