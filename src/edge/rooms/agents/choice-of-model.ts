/** How an agent chooses its model. Agents know only that one may; the room that chooses plugs in here. */

import type { Context } from 'hono';
import type { AppEnv } from '../../gate/auth/context.ts';
import { ofRooms, pluggedOne, singleSeam } from '../../kit/rooms/rooms.ts';
import type { ChoiceAsked, ChosenModel } from '../../talk/history/agent-in-use.ts';
import type { StoredAgent } from './agent-definition.ts';

interface ModelChoosing {
  /** Checks how an agent chooses, before it is stored. @param by who stores it @throws ApiError 400 or 404 if it cannot */
  check(c: Context<AppEnv>, agent: StoredAgent, by: string): Promise<void>;
  /** Chooses the model of a message without a conversation. @returns undefined if the agent has only one */
  choose(agent: StoredAgent, asked: ChoiceAsked): Promise<ChosenModel | undefined>;
}
export const MODEL_CHOICE = singleSeam<ModelChoosing>()('choice');

export const choiceInUse = ofRooms(() => pluggedOne(MODEL_CHOICE));
