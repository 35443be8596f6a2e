/** An event of a turn, but for its members. */
export interface TurnEvent<Members> {
  type: string;
  /** Added to the id of the turn's events, if it is not the one of its end. */
  mark?: string;
  /** Each makes its members shorter. They are called in their order while it is too long. */
  shorter: readonly ((members: Members) => void)[];
}
