import type { Json } from '../../kit/json/object.ts';
import { ofRooms, pluggedOne, singleSeam } from '../../kit/rooms/rooms.ts';

/** A way to see an answer: which of its blocks a listener gets, as the member `show` names it. */
export interface AnswerView {
  name: string;
  /**
   * The ids of turns that were begun with it begin with this. So whoever resumes one sees the same as before, and nothing more is
   * stored.
   */
  turns: string;
  /** @returns whether it has a block, or a delta */
  has(part: Json): boolean;
  /** @returns what it has of the blocks of a whole answer */
  of(content: readonly Json[]): Json[];
}

/** How else answers can be seen than whole: one room says it. */
export const VIEW = singleSeam<AnswerView>()('view');

export const answerView = ofRooms(() => pluggedOne(VIEW));

/** @returns how a listener sees a turn; undefined for as it is. @param show how it wants to see it; undefined for as it was begun */
export function viewOfTurn(turn: string, show?: string): AnswerView | undefined {
  const view = answerView();
  return view && (show === undefined ? turn.startsWith(view.turns) : show === view.name) ? view : undefined;
}
