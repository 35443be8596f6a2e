import type { Steps } from '../../kit/async/in-steps.ts';
import type { LeftOut } from '../conversations/conversations-answers.schema.ts';
import type { Profile } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';

/** A history that was made elsewhere, before it is stored. */
export interface ImportedHistory {
  /** How much of what was sent is not in it. */
  readonly left: LeftOut;
  /** Stores it in an empty conversation. @param of the model that its answers are said to be of, and the time: milliseconds since 1970 */
  store(transcript: Transcript, of: { model: string | null; now: number }): Steps<Partial<Profile>>;
}
