/** A page of a list, newest first. */
export interface ListPage<T> {
  data: T[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

/** Which page of a list is asked for. */
export interface PageSelection {
  limit?: number | undefined;
  /** Rows that follow this id in the list, which are older. */
  after_id?: string | undefined;
  /** Rows that come before this id in the list, which are newer. */
  before_id?: string | undefined;
}

/** Which page of conversations. With `parent`: its subagents' conversations. Without: all except subagents'. */
export interface ConversationPageSelection extends PageSelection {
  parent?: string | undefined;
}
