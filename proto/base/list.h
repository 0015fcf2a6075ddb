/* An intrusive, doubly linked, circular list. A node that is in no list has null links, which is
 * asserted: linking twice or unlinking twice is a bug that shows at once.
 * Thread: the owner of the list. Memory: the nodes live in their objects. */
#ifndef TT_PROTO_BASE_LIST_H
#define TT_PROTO_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/assert.h"

struct tt_node {
    struct tt_node *next_;
    struct tt_node *previous_;
};

struct tt_list {
    struct tt_node head_;
};

#define TT_CONTAINER_OF(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void tt_list_init(struct tt_list *l)
{
    l->head_.next_ = l->head_.previous_ = &l->head_;
}
static inline bool tt_list_empty(const struct tt_list *l)
{
    return l->head_.next_ == &l->head_;
}
static inline bool tt_node_linked(const struct tt_node *n)
{
    return n->next_ != NULL;
}

static inline void tt_list_insert_before_(struct tt_node *at, struct tt_node *n)
{
    TT_ASSERT(n->next_ == NULL && n->previous_ == NULL);
    TT_ASSERT(at->previous_ != NULL && at != n);
    n->next_ = at;
    n->previous_ = at->previous_;
    at->previous_->next_ = n;
    at->previous_ = n;
}

static inline void tt_list_append(struct tt_list *l, struct tt_node *n)
{
    tt_list_insert_before_(&l->head_, n);
}
static inline void tt_list_prepend(struct tt_list *l, struct tt_node *n)
{
    tt_list_insert_before_(l->head_.next_, n);
}

static inline void tt_list_remove(struct tt_node *n)
{
    TT_ASSERT(n->next_ != NULL && n->previous_ != NULL);
    n->previous_->next_ = n->next_;
    n->next_->previous_ = n->previous_;
    n->next_ = n->previous_ = NULL;
}

static inline struct tt_node *tt_list_first(const struct tt_list *l)
{
    return tt_list_empty(l) ? NULL : l->head_.next_;
}

/* The node behind n, or null at the end. */
static inline struct tt_node *tt_list_next(const struct tt_list *l, const struct tt_node *n)
{
    return n->next_ == &l->head_ ? NULL : n->next_;
}

static inline struct tt_node *tt_list_take_first(struct tt_list *l)
{
    struct tt_node *n = tt_list_first(l);
    if (n != NULL) tt_list_remove(n);
    return n;
}

#endif
