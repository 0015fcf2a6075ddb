#include <criterion/criterion.h>
#include <signal.h>

#include "proto/base/list.h"

struct item {
    int value;
    struct tt_node node;
};

static struct item *item_of(struct tt_node *node)
{
    return TT_CONTAINER_OF(node, struct item, node);
}

Test(list, keeps_order_and_removes_from_the_middle)
{
    struct tt_list list;
    struct item items[4] = {{.value = 0}, {.value = 1}, {.value = 2}, {.value = 3}};
    int expected[] = {3, 0, 2};
    size_t met = 0;

    tt_list_init(&list);
    cr_assert(tt_list_empty(&list));
    cr_assert_null(tt_list_first(&list));
    for (int i = 0; i < 3; i++) tt_list_append(&list, &items[i].node);
    tt_list_prepend(&list, &items[3].node);
    tt_list_remove(&items[1].node);
    cr_assert_not(tt_node_linked(&items[1].node));
    cr_assert(tt_node_linked(&items[0].node));
    for (struct tt_node *n = tt_list_first(&list); n != NULL; n = tt_list_next(&list, n)) {
        cr_assert_eq(item_of(n)->value, expected[met++]);
    }
    cr_assert_eq(met, 3);
}

Test(list, taking_the_first_unlinks_it_so_that_it_can_be_appended_again)
{
    struct tt_list list;
    struct item a = {.value = 1};
    struct item b = {.value = 2};

    tt_list_init(&list);
    tt_list_append(&list, &a.node);
    tt_list_append(&list, &b.node);
    cr_assert_eq(tt_list_take_first(&list), &a.node);
    tt_list_append(&list, &a.node);
    cr_assert_eq(tt_list_take_first(&list), &b.node);
    cr_assert_eq(tt_list_take_first(&list), &a.node);
    cr_assert_null(tt_list_take_first(&list));
    cr_assert(tt_list_empty(&list));
}

Test(list, linking_twice_stops_the_program, .signal = SIGABRT)
{
    struct tt_list list;
    struct item a = {0};

    tt_list_init(&list);
    tt_list_append(&list, &a.node);
    tt_list_append(&list, &a.node);
}

Test(list, removing_what_is_not_linked_stops_the_program, .signal = SIGABRT)
{
    struct item a = {0};

    tt_list_remove(&a.node);
}
