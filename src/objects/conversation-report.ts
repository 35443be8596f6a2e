/** What a conversation tells its account, so that the account's list is right. */

/** The state of a conversation after a change; versions only grow, so a report that comes late changes nothing. */
export interface ConversationReport {
  id: string;
  version: number;
  /** Milliseconds since 1970. */
  createdAt: number;
  updatedAt: number;
  title: string | null;
  turns: number;
  messages: number;
  /** What its object takes up, as the platform counts it; a version before this one did not tell. */
  bytes?: number | undefined;
  /** It does not exist any more, or never came to be. */
  gone: boolean;
}
