/** A body that can be sent several times: a function makes a new stream for each try. */
export type Sendable = BodyInit | (() => BodyInit);
